"""How sampling with concepts runs on the host, from the patched model (`patch`) to one evaluation (`evaluation`)."""
