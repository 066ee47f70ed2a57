"""A recipe trained with several seeds and judged by its target: ``cnnzoo reproduce``.

Other rooms use ``receipts``: what a receipt holds, and how it is judged and written.
"""
