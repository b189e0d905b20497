"""The pages for people: the report of a frame and of a night.

matplotlib and jinja2 (the extra `report`) are imported when a page is made, not before.
"""
