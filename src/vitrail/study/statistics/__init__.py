"""What measured scores allow to be said: pure functions of arrays, NumPy alone.

Read in this order: `intervals`, `seeds`, `joint` (scores of several models, and what else they could have been),
`folds` (the same under 500 images), `differences` (which model is better), `needed` (what would tell),
`power_law`, `curves` (what more data would bring), `crossing`, `labels`, `budgets` (what more
compute would bring), `growth` (what more tokens cost),
`candidates`, `recommendation` (which model, why, how sure), `words`.
"""
