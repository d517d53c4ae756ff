"""How a family's error falls with size and compute: several sizes, several budgets, each budget a training of its own.

`sizes` (the family grown by published exponents), `asked` (what is asked), `work` (the cells), `results` (iso-FLOP
curves, best sizes, the law), `words`, `page` (the report), `study` (the whole).
"""
