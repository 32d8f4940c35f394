"""Figures: specs of drawings, the cells they read, and how they are drawn."""
