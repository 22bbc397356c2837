/**
 * Captures in Node: files, and folders of raw /proc files.
 */

export type { Capture } from '../format/capture.ts'
export { readCaptureFile, writeCaptureFile } from './capture_file.ts'
export { importDirectory } from './import_dir.ts'
