//! eventprop
