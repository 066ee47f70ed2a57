"""The page in which a person explores their own net: ``app.py`` answers, ``static/`` is what the browser runs."""
