"""What AWS delivers: layouts, manifests, names and schemas. Pure, through the `Files` port.

Belongs here: the shape of a report in every format and layout. Does not belong here: reaching a folder or a
bucket (`stores/`), reading lines (`lake/`), what is done with a delivery (`ingestion/`). Start at
`layout.py`.
"""
