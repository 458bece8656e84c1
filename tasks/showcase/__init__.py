"""The gallery of the shipped models (docs/gallery.md): cases chosen by rule, drawn, credited, and put on a page."""
