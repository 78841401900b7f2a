"""Other ways to teach a base a thing from photos, behind one interface, so that ours is measured beside them."""
