"""A statement with the views that it asks put into it, for engines on which none of our views stands.

Belongs here: views as WITH names, columns that nobody asks for left out, `UNION ALL BY NAME` as the union by
position that these engines have. Does not belong here: their words (`lake/trino.py`), which views there are
(`lake/cluster.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp

Columns = Mapping[str, Sequence[str]]
"""Columns by the name of the relation that has them."""


def inlined(query: exp.Query, views: Mapping[str, exp.Query], known: Columns) -> exp.Query:
    """The query, itself changed, over relations that the engine has; the views are copied.

    Args:
        views: by lower-case name; one may ask another.
        known: the columns of what the engine has.
    """
    needed: dict[str, exp.Query] = {}

    def visit(asked: exp.Query) -> None:
        for name in asked_names(asked):
            if name in views and name not in needed:
                tree = views[name].copy()
                visit(tree)
                needed[name] = tree

    visit(query)
    if needed:
        made = [
            exp.CTE(this=tree, alias=exp.TableAlias(this=exp.to_identifier(name)))
            for name, tree in needed.items()
        ]
        own = query.args.get("with_")
        query.set("with_", exp.With(expressions=[*made, *(own.expressions if own else ())]))
    _prune(query)
    return _by_position(query, known)


def asked_names(query: exp.Expr) -> list[str]:
    """Names of relations that the query asks and does not make itself, in lower case, each once."""
    own = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
    found = {
        table.name.lower(): None
        for table in query.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier) and not table.db
    }
    return [name for name in found if name not in own]


def columns_of(query: exp.Expr, known: Columns) -> list[str]:
    """The columns of a query, in order."""
    scope = dict(known)
    with_ = query.args.get("with_")
    for cte in with_.expressions if with_ else ():
        scope[cte.alias.lower()] = columns_of(cte.this, scope)
    if isinstance(query, exp.Union):
        branches = list(_branches(query)) if query.args.get("by_name") else [query.left]
        found = {name.lower(): name for one in reversed(branches) for name in columns_of(one, scope)}
        order = dict.fromkeys(name.lower() for one in branches for name in columns_of(one, scope))
        return [found[name] for name in order]
    if isinstance(query, exp.Select):
        names: list[str] = []
        for one in query.expressions:
            names += _starred(query, one, scope) if one.is_star else [one.alias_or_name]
        return names
    named = query.args.get("alias")
    if named is not None and named.args.get("columns"):
        return [column.name for column in named.args["columns"]]
    if isinstance(query, exp.Table):
        return list(scope[query.name.lower()])
    return columns_of(query.this, scope)


def _starred(query: exp.Select, star: exp.Expr, scope: Columns) -> list[str]:
    from_ = query.args.get("from_")
    sources = [from_.this] if from_ else []
    sources += [join.this for join in query.args.get("joins") or ()]
    of = star.args["table"].name.lower() if isinstance(star, exp.Column) and star.args.get("table") else None
    return [
        name
        for source in sources
        if of is None or source.alias_or_name.lower() == of
        for name in columns_of(source, scope)
    ]


def _branches(union: exp.Union) -> Iterator[exp.Query]:
    for side in (union.left, union.right):
        if isinstance(side, exp.Union) and side.args.get("by_name"):
            yield from _branches(side)
        else:
            yield side


def _prune(query: exp.Query) -> None:
    """Leaves columns out that no name in the whole statement can mean; what shows all needs all."""
    by_place = [one for one in query.find_all(exp.SetOperation) if not one.args.get("by_name")]
    if any(
        one.is_star
        for each in (query, *by_place)
        for select in _outermost(each)
        for one in select.expressions
    ):
        return
    selects = [select for select in query.find_all(exp.Select) if _is_relation(select)]
    shown = [one for select in selects for one in select.expressions if not one.is_star]
    within = {id(column) for one in shown for column in one.find_all(exp.Column)}
    used = {column.name.lower() for column in query.find_all(exp.Column) if id(column) not in within}
    used |= {name.name.lower() for join in query.find_all(exp.Join) for name in join.args.get("using") or ()}
    # a column is needed where a condition names it, or what is shown under a name that is needed
    made_of = [
        (one.alias_or_name.lower(), {column.name.lower() for column in one.find_all(exp.Column)})
        for one in shown
    ]
    before = 0
    while len(used) > before:
        before = len(used)
        for name, columns in made_of:
            if name in used:
                used |= columns
    for select in selects:
        kept = [one for one in select.expressions if one.is_star or one.alias_or_name.lower() in used]
        # of one that only counts a column stays, without what it was made of
        name = select.expressions[0].alias_or_name
        select.set("expressions", kept or [exp.alias_(exp.null(), name, quoted=True)])


def _outermost(query: exp.Expr) -> Iterator[exp.Select]:
    if isinstance(query, exp.Select):
        yield query
    elif isinstance(query, exp.SetOperation):
        yield from _outermost(query.left)
        yield from _outermost(query.right)
    elif isinstance(query, exp.Subquery):
        yield from _outermost(query.this)


def _is_relation(select: exp.Select) -> bool:
    """It is read by the names of its columns alone: no place in it, and none that it stands in, counts."""
    if select.args.get("distinct") or any(
        isinstance(one, exp.Literal)
        for part in ("group", "order")
        if select.args.get(part)
        for one in (
            each.this if isinstance(each, exp.Ordered) else each for each in select.args[part].expressions
        )
    ):
        return False
    above = select.parent
    while isinstance(above, exp.Union) and above.args.get("by_name"):
        above = above.parent
    if isinstance(above, exp.Subquery):
        alias = above.args.get("alias")
        if alias is not None and alias.args.get("columns"):
            return False
        above = above.parent
        while isinstance(above, exp.Union) and above.args.get("by_name"):
            above = above.parent
        return isinstance(above, (exp.From, exp.Join, exp.CTE))
    return isinstance(above, exp.CTE) and not above.args["alias"].args.get("columns")


def _by_position(query: exp.Query, known: Columns) -> exp.Query:
    """Every union by name as one by position: each branch gives every column, NULL where it has none."""
    with_ = query.args.get("with_")
    scope = dict(known)
    for cte in with_.expressions if with_ else ():
        cte.set("this", _by_position(cte.this, scope))
        scope[cte.alias.lower()] = columns_of(cte.this, scope)
    if isinstance(query, exp.Union) and query.args.get("by_name"):
        names = columns_of(query, scope)
        branches = [_by_position(one, scope) for one in _branches(query)]
        made: exp.Query | None = None
        for number, branch in enumerate(branches):
            has = {name.lower() for name in columns_of(branch, scope)}
            values = [
                exp.column(name, quoted=True)
                if name.lower() in has
                else exp.alias_(exp.null(), name, quoted=True)
                for name in names
            ]
            inner = branch.this if isinstance(branch, exp.Subquery) else branch
            source = exp.Subquery(
                this=inner, alias=exp.TableAlias(this=exp.to_identifier(f"branch_{number}"))
            )
            one = exp.Select().from_(source, copy=False).select(*values, copy=False)
            made = one if made is None else exp.Union(this=made, expression=one, distinct=False)
        assert made is not None
        if with_:
            made.set("with_", with_)
        if query.parent is not None:
            query.replace(made)
        return made
    for part in _parts(query):
        _by_position(part, scope)
    return query


def _parts(query: exp.Expr) -> list[exp.Query]:
    """The queries just below a query, its WITH names aside."""
    found: list[exp.Query] = []
    waiting = [value for key, value in query.args.items() if key != "with_"]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, exp.Query) and not isinstance(one, (exp.Table, exp.Subquery)):
            found.append(one)
        elif isinstance(one, exp.Expr):
            waiting += list(one.args.values())
    return found
