/**
 * What scripts need of the machine: Java, a browser, files from the npm registry and from Debian's packages. It installs what is missing where it can.
 */
export { installDebianFiles } from './debian-files.ts';
export { defaultJava, findJavaProblem, howToGetJava, javaVersion } from './java.ts';
export { defaultCache, exists, installNpmFiles, reasonOf } from './npm-files.ts';
