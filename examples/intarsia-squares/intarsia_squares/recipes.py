"""The recipe. `intarsia --help` imports this module, so it must not import PyTorch."""

from intarsia.recipes.settings import EndToEnd, Epsilon, Inpainter, Inpainting, Recipe, Segmenter, Separation, Vaes

PALETTE = Recipe(
    dataset="squares",
    height=32,
    width=32,
    segments=4,
    edge_threshold=0.2,
    inpainter=Inpainter(channels=8, patches=24),
    segmenter=Segmenter(network="intarsia-squares:palette"),
    inpainting=Inpainting(steps=300),
    separation=Separation(steps=600, epsilon=Epsilon(highest=60.0, final=30.0, hold_steps=100, ramp_steps=100)),
    vaes=Vaes(steps=0),
    end_to_end=EndToEnd(steps=0),
)
