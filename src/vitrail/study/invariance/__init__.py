"""`vitrail study invariance`: what of an answer stays when the image is moved, scaled, turned, or cut up.

Read in this order: `conditions` (what is done to an image), `consistency` (how much of an answer stays), `measured`
(one model), `words` and `page` (what is said of them), `study` (the whole). Which models, trained and fresh, is said in
`study.subjects`, and how they follow each other in `study.subjects_study`.
"""
