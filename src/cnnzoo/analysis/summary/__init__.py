"""A network layer by layer, beside its paper, and the list of all networks: ``cnnzoo summary``, ``cnnzoo models``.

Other rooms use ``receptive_field``.
"""
