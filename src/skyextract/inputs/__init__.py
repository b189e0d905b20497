"""What a run reads besides the image: side files, calibrations, reference catalogues."""
