"""What the recipes share: the facts a choice depends on, and the parts of a run that are chosen from them."""
