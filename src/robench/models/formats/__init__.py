"""File formats of models, one file a format; `robench.models.FORMATS` lists them."""
