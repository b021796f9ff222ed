"""What makes the templates, the blueprints and all pictures: a command each."""
