"""Raw frames and calibration frames."""
