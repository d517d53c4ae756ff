"""Training images kept on the device and augmented there, a batch at a time.

Pixels are whole numbers from 0 to 255 from the decoder to the normalisation, and every step computes with whole numbers
that its type holds exactly. So an image's pixels are the same bits on every device, and whatever images stand beside
it; only the draws, which the host makes, decide.
"""
