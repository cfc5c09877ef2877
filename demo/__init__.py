"""A HiveSync to look at: embedded servers, a made-up past and live made-up traffic (`python -m demo`)."""
