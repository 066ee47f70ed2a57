"""Several processes that train one net together: found as torchrun starts them, or started by ``--processes``.

Rendezvous, messages, gradients and restarts are torch.distributed's. What is here makes the processes one to a
person: one of them writes and speaks, all begin and end together, and a fault is told once.
"""
