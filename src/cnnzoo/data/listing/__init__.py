"""The images of a folder or a table, their classes and parts, before any image is decoded.

``listing`` holds the result; ``trees``, ``lists`` and ``tables`` make it of what ``walk`` found; ``index``
keeps it. ``kinds`` tells grey from colour, ``duplicates`` finds equal files.
"""
