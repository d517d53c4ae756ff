"""Reading weights from elsewhere, every tensor accounted for."""
