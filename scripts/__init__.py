"""Programs that make what the repository keeps: the table of models, the sample of images, screenshots."""
