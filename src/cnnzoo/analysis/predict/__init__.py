"""Classification of pictures with a trained network: ``cnnzoo predict``.

Other rooms use ``predict.PictureReader`` and ``predict.sees_light_on_dark``; ``pictures`` finds what a person names.
"""
