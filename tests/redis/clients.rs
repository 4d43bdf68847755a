//! Those who mean harm, and those who are broken.
