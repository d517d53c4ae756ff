"""How far models see: how far their heads look, and from how far pixels count in what a cell becomes.

Read in this order: `field` (effective receptive fields), `theory` (what could count at all), `measured` (one model),
`words` and `page` (what is said of them), `study` (the whole). Which models, trained and fresh, is said in
`study.subjects`, and how they follow each other in `study.subjects_study`.
"""
