#!/usr/bin/env node
/** The command `idemkit`. */

// Whoever reads the output may stop early, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const command = await import('../lib/command/index.ts').catch((error: NodeJS.ErrnoException) => {
  const [, missing] = /Cannot find package '(@[^']+)'/.exec(error.message) ?? [];
  if (error.code !== 'ERR_MODULE_NOT_FOUND' || missing === undefined) throw error;
  process.stderr.write(
    `${missing} is not installed. Install it beside idemkit, or run: npx -p idemkit -p ${missing} idemkit …\n`,
  );
});

process.exitCode = command
  ? await command.main(process.argv.slice(2), {
      out: (text) => void process.stdout.write(text),
      error: (text) => void process.stderr.write(text),
      isLive: process.stderr.isTTY,
    })
  : 2;
