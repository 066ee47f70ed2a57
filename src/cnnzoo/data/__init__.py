"""Images and labels: what datasets there are, where they lie, and how they become batches."""
