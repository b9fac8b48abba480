importScripts("../faces/kept-files.js");
