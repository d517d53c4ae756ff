"""How models learn from more images: on nested parts of the training images, from several seeds.

`asked` (what is asked), `work` (the cells), `results` (what they say), `classes` (which class to label next), `words`,
`page` (the report), `study` (the whole).
"""
