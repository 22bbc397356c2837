/**
 * CRC-32 from zlib where Node has it (since 20.15 and 22.2), else the script's own.
 */

import zlib from 'node:zlib'
import { type Crc32, crc32 as crc32InScript } from '../format/crc32.ts'

export const nativeCrc32: Crc32 =
  typeof zlib.crc32 === 'function' ? (data, seed) => zlib.crc32(data, seed) : crc32InScript
