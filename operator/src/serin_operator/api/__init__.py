"""The words of Serin: its objects, its conditions, and the contract with its images. Pure data."""
