"""Every way of changing what a store holds: steps that ride in a group commit.

Each function decides and changes in one writing transaction, so nothing comes between a check and what follows from it.
A step refuses before its first change. Called on the writing lane, through `Store.commit`; it touches the transaction
and nothing else.
"""
