# For `cimport fastsoftmax`: everything for other packages is in cy.pxd.

from fastsoftmax cimport cy
