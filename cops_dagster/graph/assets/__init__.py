"""The assets, a module per step of the month: one per table, monthly-partitioned, each calling one act.

Belongs here: names, descriptions, what an asset is made from, what a materialisation shows. An asset's name
is its table's name. Does not belong here: queries and decisions (the steps). Start with `month`.
"""
