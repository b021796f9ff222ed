"""What SEGAPreview draws: heat maps, the plot over the steps, and their captions."""
