/** Numbers as people read them. */

/** 1234567 -> 1,234,567. Whole numbers only. */
export const grouped = (value: number): string => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ',')
