"""Reports: single HTML files that open from disk, load nothing and read on a phone.

`page`, `imagery`, `marks` and `provenance`, with the templates `base.html.j2` and
`pieces.html.j2`, do not depend on what is reported; `evaluation`, `prediction` and their templates
do.
"""
