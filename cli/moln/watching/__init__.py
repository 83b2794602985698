"""Looking at a running cloud: `moln status`, `moln top` and `moln health`.

A source (`local`, `kubernetes`) finds the cloud and its nodes; `page` is what a node says on the open pages of its port
9001; `assess` judges, purely; `screen` draws. Reads only, and needs no secret but to find the nodes of `moln dev`.
"""
