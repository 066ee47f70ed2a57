"""One image file to pixels: ``images`` opens and decodes it, ``squares`` cuts out the square that a network takes."""
