"""A fit as one HTML page that needs nothing else: what is shown, its figures, the page."""
