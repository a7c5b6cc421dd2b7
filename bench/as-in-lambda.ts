/** To be imported before all else: in Lambda a process is told how it was started. idemkit and its dependencies read it when they are loaded. */
process.env.AWS_LAMBDA_INITIALIZATION_TYPE ??= 'on-demand';
