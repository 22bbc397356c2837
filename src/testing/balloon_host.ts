/**
 * The balloon's host, for the tests of owners: what ships there may not know a host, and neither may their tests.
 *
 * @ours
 */

export * from '../host/balloon_host.ts'
