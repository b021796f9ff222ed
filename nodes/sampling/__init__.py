"""How a sampling with concepts meets the host, from the patched model (`patch`) to one evaluation (`evaluation`)."""
