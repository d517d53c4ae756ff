"""How time and memory grow with the size of an image, measured on this machine for models of every family.

Read in this order: `counted` (what can be known without running), `measured` (one cell), `order` (which
cells, and which are left out), `laws` (exponents, crossings, shares), `words` and `page` (what is said of them),
`study` (the whole).
"""
