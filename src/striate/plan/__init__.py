"""Floor 4: from a recipe to everything that a training needs.

Here every "auto" is decided (`auto`), refused (`refuse`) or measured (`device`, `timing`,
`rate_test`, `flip_test`), the data are opened and checked (`data`), and the network and the job are
built from the plain values of `Settled`. Below this floor nobody meets a Recipe or an "auto".
"""
