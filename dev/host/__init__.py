"""The embedded ComfyUI: as a server, in this process, and how packages are loaded beside it."""
