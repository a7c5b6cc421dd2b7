import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    environment: 'node',
    include: ['test/**/*.test.ts'],
    // The CDK's check of templates against its schemas takes seconds; the test of the app turns it on.
    env: { CDK_VALIDATION: 'false' },
    globalSetup: ['test/support/global-setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    // By default one core is left free, which is half of a machine with two: no test watches files here.
    maxWorkers: '100%',
    // A poll ends with what it waits for. On a busy machine a process may take seconds to start.
    expect: { poll: { timeout: 15_000 } },
  },
});
