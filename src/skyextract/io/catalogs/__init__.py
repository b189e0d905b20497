"""Catalogues in all formats, match tables and regions."""
