# Nothing for Python: C functions by name, as capsules. See cy.pxd.
__pyx_capi__: dict[str, object]
